"""Motion: atlas and codec, video UNet, head pose, sampling over audio of any length."""
