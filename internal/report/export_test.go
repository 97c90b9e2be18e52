package report

var (
	Natural    = natural
	SectionsOf = sectionsOf
)
