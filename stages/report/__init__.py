"""One self-contained page that shows a build: pictures, measures, settings."""
