import unittest

from names import group_name


class GroupName(unittest.TestCase):
    def test_number_and_text(self):
        self.assertEqual(group_name(1, 42), "ci-p1-j42")
        self.assertEqual(group_name(1, "42"), "ci-p1-j42")
