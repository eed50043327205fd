"""Train reference classifiers on shard sets, through the shards' public formats, and measure them under attack."""
