"""HTTP edge: the file of HAProxy and its certificate."""
