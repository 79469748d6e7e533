// Package kfaketest drives the whole producer of
package kfaketest
