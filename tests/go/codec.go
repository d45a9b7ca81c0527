package e2e

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/proto"
)

// encryption is a payload codec: whole payloads, with their metadata, are sealed by AES-GCM.
type encryption struct {
	cipher.AEAD
}

func newEncryption(key []byte) (converter.PayloadCodec, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return encryption{aead}, err
}

func (e encryption) Encode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	sealed := make([]*commonpb.Payload, len(payloads))
	for i, payload := range payloads {
		plain, err := proto.Marshal(payload)
		if err != nil {
			return nil, err
		}
		nonce := make([]byte, e.NonceSize())
		rand.Read(nonce)
		sealed[i] = &commonpb.Payload{
			Metadata: map[string][]byte{converter.MetadataEncoding: []byte("binary/encrypted")},
			Data:     e.Seal(nonce, nonce, plain, nil),
		}
	}
	return sealed, nil
}

func (e encryption) Decode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	opened := make([]*commonpb.Payload, len(payloads))
	for i, payload := range payloads {
		if string(payload.Metadata[converter.MetadataEncoding]) != "binary/encrypted" {
			opened[i] = payload
			continue
		}
		if len(payload.Data) < e.NonceSize() {
			return nil, fmt.Errorf("a sealed payload of %d bytes is too short", len(payload.Data))
		}
		nonce, rest := payload.Data[:e.NonceSize()], payload.Data[e.NonceSize():]
		plain, err := e.Open(nil, nonce, rest, nil)
		if err != nil {
			return nil, err
		}
		opened[i] = &commonpb.Payload{}
		if err := proto.Unmarshal(plain, opened[i]); err != nil {
			return nil, err
		}
	}
	return opened, nil
}
