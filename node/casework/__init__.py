"""Reports from readers and others: taken in, joined by what they are about, put in order, and decided."""
