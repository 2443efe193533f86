"""What argus-bench is made of: scenarios, statistics, power, the machine's state, tables and the page.

The scenarios are named after MLPerf Inference (Reddi et al., ISCA 2020, arXiv 1911.02549): the same pattern
of queries and the same percentile, on packages and frames of ours. They are no MLPerf results.
"""
