"""What `./scripts/demo` and `./scripts/webui` run."""
