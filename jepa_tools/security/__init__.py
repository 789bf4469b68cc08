"""Who may say what: `jepa security` writes it down for SROS2."""
