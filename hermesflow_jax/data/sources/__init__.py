"""Readers of image-caption data sets in the forms that people share."""
