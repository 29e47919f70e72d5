"""Images through a method: what `load` returns, and folders of them."""
