package batch

// IsPassing reports whether to ask again at once would be in vain.
var IsPassing = isPassing
