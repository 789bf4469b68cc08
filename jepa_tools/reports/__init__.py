"""What people read: pages, tables, and the document of all parameters."""
