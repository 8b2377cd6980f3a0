"""Parts of web servers: cookies, pages of browsers, and problems as responses."""
