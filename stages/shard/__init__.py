"""Render latents and write training shards that any trainer reads unmodified."""
