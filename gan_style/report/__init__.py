"""What a report is made of, without torch; `report.page` puts the parts together."""

from gan_style import home

home.for_matplotlib()
