"""What a report is made of, without torch; `gan_style.report` puts the parts together."""

from gan_style import home

home.for_matplotlib()
