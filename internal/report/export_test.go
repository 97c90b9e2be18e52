package report

var SectionsOf = sectionsOf

func IsMissing(f *field) bool { return f.Missing }
