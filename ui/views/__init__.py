"""One module per view; each page has render(client, viewer)."""
