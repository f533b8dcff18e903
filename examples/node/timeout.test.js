'use strict';

const assert = require('node:assert');
const test = require('node:test');
const timeout = require('./timeout');

test('a timeout is read', () => assert.strictEqual(timeout('90s'), 90000));
test('a word is refused', () => assert.throws(() => timeout('soon'), /no timeout/));
