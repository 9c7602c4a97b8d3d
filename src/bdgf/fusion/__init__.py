"""The guided branches: scans, guidance, network, mutual learning, training."""
