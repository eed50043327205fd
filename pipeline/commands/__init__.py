"""Commands about the house itself: what is declared, what is done, whether it is whole."""
