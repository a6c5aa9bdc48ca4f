package archive

// WithoutMarks returns an intent that has forgotten the last numbers of the sensors.
func WithoutMarks(data []byte) ([]byte, error) {
	in, err := decodeIntent(data)
	if err != nil {
		return nil, err
	}
	in.marks = nil
	return in.encode()
}
