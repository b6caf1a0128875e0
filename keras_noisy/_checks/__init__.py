"""What arguments may be, declared once and checked wherever they are given."""
