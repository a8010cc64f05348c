"""Measuring models: benchmarks, comparisons with a verdict, and what they rest on."""
