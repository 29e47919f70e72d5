"""What a report is made of, without torch; `gan_style.report` puts the parts together."""
