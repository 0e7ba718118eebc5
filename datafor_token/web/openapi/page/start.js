// Relative, so that it works behind any prefix. No validator: that one is on another host.
SwaggerUIBundle({ url: "openapi.json", dom_id: "#calls", deepLinking: true, validatorUrl: null });
