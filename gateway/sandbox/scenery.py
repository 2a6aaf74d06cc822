"""Scenery: the places, referrals and item types of the sandbox's world, with how common they are."""

from __future__ import annotations

ITEM_TYPES = ("figure", "media", "dataset", "fileset", "poster", "paper", "presentation", "thesis", "code")

PLACES: tuple[tuple[tuple[str, str | None], int], ...] = (
    (("United States", "Kansas City"), 9),
    (("United States", "Orlando"), 7),
    (("United States", "Boston"), 11),
    (("United States", None), 4),
    (("United Kingdom", "London"), 12),
    (("United Kingdom", "Loughborough"), 8),
    (("United Kingdom", None), 3),
    (("Australia", "Melbourne"), 10),
    (("Australia", "Sydney"), 6),
    (("Australia", None), 2),
    (("Spain", "Madrid"), 5),
    (("Spain", "Seville"), 4),
    (("Spain", None), 1),
    (("Germany", "Köln"), 5),
    (("Germany", "Berlin"), 6),
    (("Brazil", "São Paulo"), 5),
    (("Brazil", "Campinas"), 3),
    (("Brazil", "Indaiatuba"), 2),
    (("China", "Chengdu"), 5),
    (("China", "Fuzhou"), 3),
    (("China", None), 2),
    (("Venezuela", "Caracas"), 3),
    (("Antarctica", None), 1),
)
"""((country, city or None), weight): some events are known by their country alone."""

REFERRALS = (
    ("www.google.com", 30),
    ("www.figshare.com", 22),
    ("scholar.google.com", 14),
    ("doi.org", 9),
    ("www.bing.com", 6),
    ("en.wikipedia.org", 5),
    ("twitter.com", 4),
    ("www.nature.com", 3),
    ("github.com", 3),
    ("www.facebook.com", 2),
    ("orcid.org", 2),
    ("www.mendeley.com", 1),
)
