"""An ensemble: the sealed network and sealed trees, averaged at ranks."""
