"""Pictures and studies made from finished runs."""
