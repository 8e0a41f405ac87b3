package wire

// Chunked takes the chunked coding off a body, piece by piece.
type Chunked struct {
	state  chunkState
	left   int64 // of the chunk
	digits int
	extra  int  // bytes of extensions and trailers
	line   int  // length of the trailer's present line
	colon  bool // and whether its name is over
}

type chunkState uint8

const (
	inSize chunkState = iota
	inExtension
	afterSize // the LF of a size line
	inData
	afterData   // the CR behind a chunk
	afterDataLF // and its LF
	inTrailer
	trailerLF
	chunksDone
)

// maxExtra bounds extensions and trailers, which are read and dropped.
const maxExtra = 4 << 10

// Done says that the body and its trailers have been read.
func (c *Chunked) Done() bool { return c.state == chunksDone }

// Next reads from b. It returns the data that it found, a part of b, and how many bytes of b are done with. Data and
// progress may both be empty only when b is, or when the body is done.
func (c *Chunked) Next(b []byte) (data []byte, n int, err error) {
	for n < len(b) && c.state != chunksDone {
		if c.state == inData {
			most := int(min(int64(len(b)-n), c.left))
			data = b[n : n+most]
			if c.left -= int64(most); c.left == 0 {
				c.state = afterData
			}
			return data, n + most, nil
		}
		if err := c.step(b[n]); err != nil {
			return nil, n, err
		}
		n++
	}
	return nil, n, nil
}

// step takes one byte of the coding.
func (c *Chunked) step(b byte) error {
	switch c.state {
	case inSize:
		return c.size(b)
	case inExtension:
		if b == '\r' {
			c.state = afterSize
			return nil
		}
		return c.drop(b)
	case afterSize:
		if b != '\n' {
			return ErrMalformed
		}
		c.state, c.digits = inData, 0
		if c.left == 0 {
			c.state = inTrailer
		}
	case afterData:
		if b != '\r' {
			return ErrMalformed
		}
		c.state = afterDataLF
	case afterDataLF:
		if b != '\n' {
			return ErrMalformed
		}
		c.state = inSize
	case inTrailer, trailerLF:
		return c.trailer(b)
	}
	return nil
}

func (c *Chunked) size(b byte) error {
	switch {
	case class[b]&hexa != 0:
		if c.digits++; c.digits > 15 {
			return ErrLength
		}
		c.left = c.left<<4 | int64(nibble(b))
		return nil
	case c.digits == 0:
		return ErrLength
	case b == '\r':
		c.state = afterSize
		return nil
	case b == ';':
		c.state = inExtension
		return nil
	}
	return ErrLength
}

func nibble(b byte) byte {
	if b <= '9' {
		return b - '0'
	}
	return b&0x0f + 9
}

func (c *Chunked) drop(b byte) error {
	if c.extra++; class[b]&text == 0 || c.extra > maxExtra {
		return ErrMalformed
	}
	return nil
}

// trailer reads lines until an empty one. They are dropped: nobody was told to expect them (TE is not passed on).
func (c *Chunked) trailer(b byte) error {
	switch {
	case c.state == trailerLF && b != '\n':
		return ErrMalformed
	case c.state == trailerLF && c.line == 0:
		c.state = chunksDone
		return nil
	case c.state == trailerLF:
		c.state, c.line, c.colon = inTrailer, 0, false
		return nil
	case b == '\r' && (c.colon || c.line == 0):
		c.state = trailerLF
		return nil
	case b == ':' && c.line > 0:
		c.colon = true
	case !c.colon && class[b]&token == 0:
		return ErrMalformed
	}
	c.line++
	return c.drop(b)
}
