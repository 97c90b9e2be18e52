package main

import "image/color"

// A theme is the colours of a page. Each chart has its own background, so that it is readable on the other page too.
type theme struct {
	name                          string
	background, text, faint, grid color.Color
	colours                       map[hue]color.Color
}

// A hue is a colour of the palette of Okabe and Ito, which colour-blind people can tell apart.
type hue int

const (
	neutral hue = iota // the colour of the text
	grey
	blue
	vermillion
	green
	orange
	sky
	purple
	yellow
)

var light = theme{
	name: "light", background: rgb(0xFFFFFF), text: rgb(0x1F2328), faint: rgb(0x59636E), grid: rgb(0xE4E7EB),
	colours: map[hue]color.Color{
		neutral: rgb(0x1F2328), grey: rgb(0x8A8F96), blue: rgb(0x0072B2), vermillion: rgb(0xD55E00),
		green: rgb(0x009E73), orange: rgb(0xE69F00), sky: rgb(0x56B4E9), purple: rgb(0xCC79A7),
		yellow: rgb(0xA89C00), // that of the palette cannot be seen on white
	},
}

var dark = theme{
	name: "dark", background: rgb(0x0D1117), text: rgb(0xF0F6FC), faint: rgb(0x9DA5AE), grid: rgb(0x2A3038),
	colours: map[hue]color.Color{
		neutral: rgb(0xF0F6FC), grey: rgb(0x8A8F96), blue: rgb(0x1F87CC), vermillion: rgb(0xE8701A),
		green: rgb(0x00B685), orange: rgb(0xE69F00), sky: rgb(0x7CCBF7), purple: rgb(0xD68DB6),
		yellow: rgb(0xF0E442),
	},
}

func rgb(v uint32) color.Color {
	return color.RGBA{R: uint8(v >> 16), G: uint8(v >> 8), B: uint8(v), A: 255}
}
