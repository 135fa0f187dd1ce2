"""Late interaction: texts are encoded apart, their encodings are stored, and a query is compared with stored encodings."""
