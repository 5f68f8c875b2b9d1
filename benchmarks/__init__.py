"""How fast gankit is, measured beside the best that PyTorch offers; see GUIDELINES.md."""
