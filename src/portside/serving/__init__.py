"""Keeps servables in their aspired state and answers inference on them."""
