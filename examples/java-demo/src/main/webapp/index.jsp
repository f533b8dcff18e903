<%@ page contentType="text/plain; charset=UTF-8" %>java-demo <%= demo.Version.text() %>
