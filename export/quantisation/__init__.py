"""Make an exported model smaller and faster, and show what it costs."""
