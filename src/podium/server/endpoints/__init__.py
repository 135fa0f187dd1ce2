"""What is answered on each path."""
