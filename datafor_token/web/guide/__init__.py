"""The guide: the pages of ``docs/`` as HTML that loads nothing from another host."""
