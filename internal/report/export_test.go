package report

var (
	SectionsOf = sectionsOf
)
