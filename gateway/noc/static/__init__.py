"""Files for the browser: the console and the base map."""
