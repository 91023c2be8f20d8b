"""What scripts and tests share: the environment, the small checkpoint, servers, cases."""
