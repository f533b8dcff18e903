module example.com/go-demo

go 1.19

require github.com/bmatcuk/doublestar/v4 v4.10.4
