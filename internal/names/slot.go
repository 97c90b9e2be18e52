package names

import "strings"

// Slots is how many slots the keys of a cluster are shared out in.
const Slots = 16384

// Slot is the slot of a key: the CRC16 (XMODEM) of it, or of its hash tag, which is what stands between the first { and the next }
// if that is not empty.
func Slot(key string) int {
	if i := strings.IndexByte(key, '{'); i >= 0 {
		if n := strings.IndexByte(key[i+1:], '}'); n > 0 {
			key = key[i+1 : i+1+n]
		}
	}
	var crc uint16
	for i := range len(key) {
		crc = crc<<8 ^ crcTable[byte(crc>>8)^key[i]]
	}
	return int(crc) % Slots
}

var crcTable = func() (table [256]uint16) {
	for i := range table {
		crc := uint16(i) << 8
		for range 8 {
			top := crc&0x8000 != 0
			crc <<= 1
			if top {
				crc ^= 0x1021
			}
		}
		table[i] = crc
	}
	return table
}()
