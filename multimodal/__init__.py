"""Sound and sight become data: image, speech and text features, and fusing."""
