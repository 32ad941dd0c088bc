// Check holds what a log serves against the verifier of Go's checksum database, golang.org/x/mod/sumdb.
//
//	check record VKEY CHECKPOINT-FILE LEAF-HASH INDEX [PROOF-HASH ...]
//	check leaf LEAF-FILE LEAF-HASH
//	check tree VKEY OLD-CHECKPOINT-FILE CHECKPOINT-FILE [PROOF-HASH ...]
//
// Hashes are in hexadecimal. Exit status: 0 accepted, 1 refused (the reason goes to stderr), 2 wrong usage.
//
// The three lines of a checkpoint are read here, because tlog.ParseTree takes notes of the checksum database only.
package main

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/ioutil"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A usageError says that an argument is not what it has to be.
type usageError struct{ error }

func main() {
	err := run(os.Args[1:])
	var usage usageError
	switch {
	case err == nil:
	case errors.As(err, &usage):
		fmt.Fprintln(os.Stderr, "usage:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "refused:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) >= 5 && args[0] == "record":
		return record(args[1], args[2], args[3], args[4], args[5:])
	case len(args) >= 4 && args[0] == "tree":
		return tree(args[1], args[2], args[3], args[4:])
	case len(args) == 3 && args[0] == "leaf":
		return leaf(args[1], args[2])
	}
	return usageError{errors.New("check record|tree|leaf ...")}
}

// leaf checks that the file's content has this hash as a leaf.
func leaf(file, leafHex string) error {
	expected, err := hash(leafHex)
	if err != nil {
		return err
	}
	data, err := ioutil.ReadFile(file)
	if err != nil {
		return usageError{err}
	}
	if found := tlog.RecordHash(data); found != expected {
		return fmt.Errorf("the leaf's hash is %s", found)
	}
	return nil
}

// record checks that the leaf is at the index of the checkpoint's tree.
func record(vkey, file, leafHex, indexText string, proofHex []string) error {
	leaf, err := hash(leafHex)
	if err != nil {
		return err
	}
	index, err := strconv.ParseInt(indexText, 10, 64)
	if err != nil {
		return usageError{err}
	}
	proof, err := hashes(proofHex)
	if err != nil {
		return err
	}
	signed, err := open(vkey, file)
	if err != nil {
		return err
	}
	return tlog.CheckRecord(tlog.RecordProof(proof), signed.N, signed.Hash, index, leaf)
}

// tree checks that the newer checkpoint's tree begins with the older one's.
func tree(vkey, oldFile, newFile string, proofHex []string) error {
	proof, err := hashes(proofHex)
	if err != nil {
		return err
	}
	older, err := open(vkey, oldFile)
	if err != nil {
		return err
	}
	newer, err := open(vkey, newFile)
	if err != nil {
		return err
	}
	return tlog.CheckTree(tlog.TreeProof(proof), newer.N, newer.Hash, older.N, older.Hash)
}

// open returns what the log with this key signed about its tree.
func open(vkey, file string) (tlog.Tree, error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return tlog.Tree{}, err
	}
	message, err := ioutil.ReadFile(file)
	if err != nil {
		return tlog.Tree{}, usageError{err}
	}
	opened, err := note.Open(message, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, fmt.Errorf("not a checkpoint of %s", verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || lines[1] != strconv.FormatInt(size, 10) {
		return tlog.Tree{}, fmt.Errorf("the size is %q", lines[1])
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return tlog.Tree{}, fmt.Errorf("the root is %q", lines[2])
	}
	found := tlog.Tree{N: size}
	copy(found.Hash[:], root)
	return found, nil
}

func hashes(texts []string) ([]tlog.Hash, error) {
	var found []tlog.Hash
	for _, text := range texts {
		one, err := hash(text)
		if err != nil {
			return nil, err
		}
		found = append(found, one)
	}
	return found, nil
}

func hash(text string) (tlog.Hash, error) {
	var found tlog.Hash
	octets, err := hex.DecodeString(text)
	if err != nil || len(octets) != tlog.HashSize {
		return found, usageError{fmt.Errorf("%q is not a hash", text)}
	}
	copy(found[:], octets)
	return found, nil
}
