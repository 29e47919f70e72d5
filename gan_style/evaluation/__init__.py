"""Numbers: of translations, and of what a method costs."""
