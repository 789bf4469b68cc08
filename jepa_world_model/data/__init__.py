"""Recorded episodes as arrays, and clips drawn from them."""
