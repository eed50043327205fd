"""Directions of w that change one thing at a time: NaTra's attribute directing (section 3.4), and GANSpace."""
