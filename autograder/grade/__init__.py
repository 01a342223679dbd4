"""From what students hand in to marks: found, run and judged, recorded once."""
