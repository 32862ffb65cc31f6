"""Networks: backbones, MDMTN and what they share."""
