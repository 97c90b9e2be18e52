// Package scripts tells what scripts the library has, for those who know nothing else of it: package locktest, whose server tells
// by them what came. It is a leaf.
package scripts

// Texts are the texts of the scripts by their names. The root package adds them before anything else runs.
var Texts = map[string]string{}

// Digests are the SHA-1 of the scripts by their names, by which EVALSHA names them. After a change to a script,
// go test -run TestDigests . -update-digests writes them. They are constants: to compute SHA-1 at start would panic under
// GODEBUG=fips140=only.
var Digests = map[string]string{
	"enter":       "c7fb33375b83556d6fe6c0c2593d2fc3195f261a",
	"extend":      "6e92129627db2ad6754b1673c41dedd41937b827",
	"fairExtend":  "0716ad89e54fd23336f6a66f4fd6484cb09093c1",
	"fence":       "79164df927e4656505608da87afcf5762d34fa53",
	"guard":       "cfbab64ccb297bec23833747b1b00ecb5ebc4270",
	"guardDo":     "b79487beaf56ea514f118c27e2d9b87f69015b2e",
	"inspect":     "a2112207a2a5dbc84e07d5f7e2f4898aa063bedb",
	"inspectFair": "180ccaba1cc385b59f6e50112ee1482b95c249b3",
	"leave":       "fbcb35c3055149f4521eeea85aa9b4f05b4d1903",
	"poke":        "14602ac602dcc145b9617c422b5cc920db3f098c",
	"quit":        "0e8d6d463163e785c47b63c2b22a64ee966bdaa8",
	"rel":         "c6e69c82951a473ceff93b0488b839141d5a347f",
	"release":     "7c83167f8940403e25de3ed3406d0f6802708e9f",
	"setNX":       "5e6996b40c6426b5b4d5d098cb0f6e73dbaac724",
	"try":         "4f8c1be9fd70938ea92e49b314efbf523095e35b",
	"verify":      "0b043f624a3b8c980baace54e6f73adf9f81dcf4",
}
