'use strict';

const ms = require('ms');

/** The text of a timeout, such as "90s", in milliseconds. */
module.exports = (text) => {
  const value = ms(text);
  if (value === undefined) {
    throw new Error(`${JSON.stringify(text)} is no timeout: write 90s or 2h`);
  }
  return value;
};
